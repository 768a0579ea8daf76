"""How it is served: bytes in, one use case, bytes out."""
