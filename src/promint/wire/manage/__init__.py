"""The management API, field by field: one shape for each request and answer.

The OpenAPI document is made from these shapes, descriptions and bounds included. A request with a
field that its shape does not have is refused. `UNSET` is a field that was not sent.
"""
