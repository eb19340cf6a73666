from store.model.plan import PLAN_KEYS_MAX, PlanMemory

HOSTILE_KEYS = 16_384


def test_a_shape_has_one_plan() -> None:
    memory = PlanMemory()
    assert memory.plan_of("s", ("a", "b")) is memory.plan_of("s", ("a", "b"))
    assert memory.plan_of("s", ("b", "a")) is not memory.plan_of("s", ("a", "b"))
    assert len(memory) == 2


def test_plans_are_bounded_by_their_keys_not_by_their_number() -> None:
    memory = PlanMemory()
    for nth in range(2 * PLAN_KEYS_MAX // HOSTILE_KEYS):
        keys = tuple(f"k{nth}-{n}" for n in range(HOSTILE_KEYS))
        assert memory.plan_of("s", keys).keys == keys
        assert len(memory) * HOSTILE_KEYS <= PLAN_KEYS_MAX
    small = PlanMemory()
    for nth in range(PLAN_KEYS_MAX // 2 + 1):
        small.plan_of(f"scope {nth}", ("a",))
    assert len(small) <= PLAN_KEYS_MAX // 2
