"""The generated module and its source agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

import longshore
from longshore.protocol import asynq_pb2


def test_asynq_pb2_is_generated_from_asynq_proto(tmp_path: Path) -> None:
    root = Path(longshore.__file__).parents[1]
    target = tmp_path / "descriptors"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={root}", f"--descriptor_set_out={target}"]
    subprocess.run([*command, "longshore/protocol/asynq.proto"], check=True, capture_output=True)
    [source] = FileDescriptorSet.FromString(target.read_bytes()).file
    generated = FileDescriptorProto.FromString(asynq_pb2.DESCRIPTOR.serialized_pb)
    for file in (source, generated):
        for message in file.message_type:
            for field in message.field:
                field.ClearField("json_name")  # only the compiler's own output spells it out
            for nested in message.nested_type:
                for field in nested.field:
                    field.ClearField("json_name")
    assert generated == source, "run dev/proto.sh"
