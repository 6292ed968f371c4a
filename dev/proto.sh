#!/bin/sh
# Regenerate worker/longshore/protocol/asynq_pb2.py and .pyi from asynq.proto.
#
# Generated code refuses a protobuf runtime older than its generator and is promised to work with the next major one.
# grpcio-tools 1.72 carries the generator of protobuf 6.30: the oldest runtime pyproject.toml allows. It gets a virtualenv
# of its own because it asks for protobuf below 7.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/pip" install --quiet 'grpcio-tools==1.72.2' 'setuptools<81'
cd "$root/worker"
"$venv/bin/python" -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. longshore/protocol/asynq.proto
