#!/bin/sh
# Generates gen/sidecar/v1 from the contract, with the plugins that go.mod pins.
#
# PROTOC is the compiler, "protoc" unless set.
set -eu
cd "$(dirname "$0")"
proto=../../../proto

go build -o bin/ tool
rm -rf gen
mkdir gen
# All files are one Go package, so paths alone decide where it lies.
"${PROTOC:-protoc}" \
  --proto_path="$proto" \
  --plugin=protoc-gen-go=bin/protoc-gen-go \
  --plugin=protoc-gen-go-grpc=bin/protoc-gen-go-grpc \
  --go_out=gen --go_opt=paths=source_relative \
  --go-grpc_out=gen --go-grpc_opt=paths=source_relative \
  "$proto"/sidecar/v1/*.proto
