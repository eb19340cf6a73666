"""Who may do what: keys, tokens, tenants, roles, permissions.

    credential -> gate.py (keys from keyring.py, tokens from tokens.py) -> Principal -> the doors ask for a Permission

The receivers and the API share it; it knows neither of them, and nothing of OTLP, of the journal or of the view.
"""
