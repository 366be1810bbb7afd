"""Our definition of the protocol against the one inside a Terraform binary: names, numbers and types."""

import shutil
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb


def embedded_definition() -> FileDescriptorProto:
    """Go programs carry their definitions as serialized descriptors, which begin with the file's name."""
    program = Path(str(shutil.which("terraform"))).read_bytes()
    for name in (b"tfplugin5.proto", b"internal/tfplugin5/tfplugin5.proto"):
        start = program.find(bytes([10, len(name)]) + name + bytes([18, 9]) + b"tfplugin5")
        if start >= 0:
            return parse_prefix(program[start : start + 200_000])
    pytest.skip("this Terraform carries no definition that can be found")


def parse_prefix(data: bytes) -> FileDescriptorProto:
    """Reads top-level fields until one is not of a file descriptor."""
    at, end = 0, 0
    while at < len(data) and data[at] >> 3 in (1, 2, 3, 4, 5, 6, 7, 8, 12) and data[at] & 7 == 2:
        length, shift, at = 0, 0, at + 1
        while True:
            byte = data[at]
            length |= (byte & 127) << shift
            shift, at = shift + 7, at + 1
            if byte < 128:
                break
        at += length
        end = at
    return FileDescriptorProto.FromString(data[:end])


def fields(message: DescriptorProto, prefix: str = "") -> dict[str, tuple[int, int, bool]]:
    path = f"{prefix}{message.name}."
    found = {
        path + field.name: (field.number, field.type, field.label == field.LABEL_REPEATED)
        for field in message.field
    }
    for nested in message.nested_type:
        found.update(fields(nested, path))
    return found


@pytest.mark.skipif(shutil.which("terraform") is None, reason="no terraform binary on PATH")
def test_numbers_agree_with_terraform() -> None:
    theirs: dict[str, tuple[int, int, bool]] = {}
    definition = embedded_definition()
    for message in definition.message_type:
        theirs.update(fields(message))
    ours = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(ours)
    checked = 0
    for message in ours.message_type:
        for name, shape in fields(message).items():
            name = name.replace("GetMetadata.TypeName", "GetMetadata.ResourceMetadata")
            if name in theirs:
                assert shape == theirs[name], name
                checked += 1
            else:
                # Newer than this Terraform: identities came with 1.12.
                assert "identit" in name.lower(), name
    assert checked > 100
    methods = {method.name for service in definition.service for method in service.method}
    newer = {"GetResourceIdentitySchemas", "UpgradeResourceIdentity"}
    assert {method.name for method in ours.service[0].method} - newer <= methods
