"""The search sidecar: recall, fusion and two-stage rerank beside a search service, over gRPC."""
