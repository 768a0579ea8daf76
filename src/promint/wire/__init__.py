"""How it looks outside: fields and spelling of every call, JSON and XML."""
