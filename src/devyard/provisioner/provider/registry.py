"""Every resource and data source by the names that templates use, and their schemas as one ready message.

The service looks types up here. Invariant: the schema message is the same for every connection and job.
"""

from functools import cache

from devyard.provisioner.provider.checks import link, not_empty
from devyard.provisioner.provider.data import credentials, parameter, preset, workspace
from devyard.provisioner.provider.declarations import DataSource, Resource
from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb
from devyard.provisioner.provider.resources import agent, app, sandbox, script
from devyard.provisioner.provider.schema import Block, optional, schema_message

PROVIDER_BLOCK = Block(
    attributes={
        "url": optional(
            "string",
            "Where this installation is reached; the build's access URL by default.",
            not_empty,
            link,
        ),
        "host": optional("string", "Takes the place of the access URL's host; the port stays."),
    },
    doc="Workspaces of this installation.",
)

CAPABILITIES = pb.ServerCapabilities(
    plan_destroy=True, get_provider_schema_optional=True, move_resource_state=True
)

RESOURCES: dict[str, Resource] = {
    f"{prefix}_{resource.name}": resource
    for resource in (*agent.RESOURCES, *app.RESOURCES, *script.RESOURCES, *sandbox.RESOURCES)
    for prefix in resource.prefixes
}

DATA_SOURCES: dict[str, DataSource] = {
    f"{prefix}_{source.name}": source
    for source in (
        *workspace.DATA_SOURCES,
        *parameter.DATA_SOURCES,
        *preset.DATA_SOURCES,
        *credentials.DATA_SOURCES,
    )
    for prefix in source.prefixes
}


@cache
def schema_bytes() -> bytes:
    """The answer to GetSchema, ready for the wire."""
    response = pb.GetProviderSchema.Response(
        provider=schema_message(PROVIDER_BLOCK), server_capabilities=CAPABILITIES
    )
    for name, resource in RESOURCES.items():
        response.resource_schemas[name].CopyFrom(schema_message(resource.block))
    for name, source in DATA_SOURCES.items():
        response.data_source_schemas[name].CopyFrom(schema_message(source.block))
    return bytes(response.SerializeToString())


def metadata() -> pb.GetMetadata.Response:
    """The answer to GetMetadata."""
    return pb.GetMetadata.Response(
        server_capabilities=CAPABILITIES,
        resources=[pb.GetMetadata.TypeName(type_name=name) for name in RESOURCES],
        data_sources=[pb.GetMetadata.TypeName(type_name=name) for name in DATA_SOURCES],
    )
