"""protobuf <-> sidecar.types, one file per proto file.

`to_*` reads a request and enforces every limit that the proto comments state and that needs no
schema; `from_*` writes an answer. Errors are InvalidFieldError and TooLargeError with the path of
the field in the request.
"""
