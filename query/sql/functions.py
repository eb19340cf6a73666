"""The functions that a statement may call, by name. What is not listed is refused: a function that the engine gains, too.

None of them reads a file, the network, the environment, a setting or the catalog, changes anything, or takes a statement as
a text; the tables that functions give (`range`, `read_csv` …) are not here, but for `unnest`.
"""

from typing import Final


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


AGGREGATES: Final = _names(
    """count count_if countif sum avg mean min max median mode stddev stddev_pop stddev_samp variance var_pop var_samp
    corr covar_pop covar_samp quantile quantile_cont quantile_disc approx_count_distinct approx_quantile arg_max
    arg_min max_by min_by first last any_value bool_and bool_or string_agg group_concat listagg list array_agg
    histogram skewness kurtosis entropy product fsum favg geometric_mean bit_and bit_or bit_xor regr_slope
    regr_intercept regr_r2 grouping"""
)
WINDOW: Final = _names(
    """row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value"""
)
TEXT: Final = _names(
    """lower upper trim ltrim rtrim length strlen len substring substr left right replace translate reverse contains
    starts_with ends_with prefix suffix strpos position instr split string_split str_split split_part concat
    concat_ws lpad rpad regexp_matches regexp_extract regexp_extract_all regexp_replace regexp_full_match ascii chr
    unicode md5 sha256 format printf levenshtein jaccard jaro_similarity hamming strip_accents array_to_string"""
)
NUMBERS: Final = _names(
    """abs ceil ceiling floor round trunc sign sqrt cbrt exp ln log log10 log2 power pow mod greatest least isnan isinf
    isfinite"""
)
TIMES: Final = _names(
    """now current_date current_timestamp today date_trunc date_part extract date_diff datediff date_sub datesub
    date_add epoch epoch_ms epoch_us epoch_ns to_timestamp make_date make_timestamp make_timestamp_ns strftime
    strptime try_strptime time_bucket year quarter month week day hour minute second dayofweek dow isodow dayofyear
    dayname monthname last_day age millisecond microsecond to_years to_months to_weeks to_days to_hours to_minutes
    to_seconds to_milliseconds"""
)
LISTS: Final = _names(
    """list_contains array_contains list_has array_has list_has_any list_has_all array_has_any array_has_all
    list_distinct list_unique list_sort list_reverse_sort array_sort list_position list_extract list_element
    list_slice array_slice list_concat list_cat array_concat array_length list_sum list_avg list_min list_max
    list_count list_first list_last list_append list_prepend list_value list_intersect flatten unnest cardinality
    map_keys map_values map_entries map_extract element_at struct_extract struct_pack row"""
)
JSON: Final = _names(
    """json_extract json_extract_string json_extract_path json_extract_path_text json_value json_exists json_contains
    json_keys json_array_length json_type json_valid json_array json_object json_structure to_json json from_json
    json_transform"""
)
CHOICES: Final = _names("""coalesce ifnull nullif if try cast try_cast typeof""")

FUNCTIONS: Final[dict[str, frozenset[str]]] = {
    "aggregates": AGGREGATES,
    "window": WINDOW,
    "text": TEXT,
    "numbers": NUMBERS,
    "times": TIMES,
    "lists and maps": LISTS,
    "JSON": JSON,
    "choices": CHOICES,
}
ALLOWED: Final = frozenset[str]().union(*FUNCTIONS.values())
INSTEAD: Final = {
    "read_csv": "the documented views are all there is to read",
    "repeat": "lpad('', n, 'x') makes a text of a length",
    "range": "unnest a list, or number rows with row_number()",
    "generate_series": "unnest a list, or number rows with row_number()",
    "json_each": "unnest(json_keys(...)), or unnest(from_json(..., '[\"JSON\"]'))",
    "list_filter": "unnest the list and filter its rows",
    "list_transform": "unnest the list and select from its rows",
    "list_aggregate": "list_sum, list_avg, list_min, list_max, list_count, or unnest the list",
    "random": "order by md5 of an id",
    "current_setting": "settings are the server's",
    "getenv": "the environment is the server's",
}
