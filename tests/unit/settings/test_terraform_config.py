from pathlib import Path

import pytest

from devyard.server.options import OptionError
from devyard.server.settings import ServerSettings
from devyard.server.terraformconfig import check_cli_config, make_terraform_settings

GOOD = """
# mirrors
provider_installation {
  filesystem_mirror {
    path    = "/srv/mirror"
    include = ["registry.example.com/*/*"] // ours
  }
  direct { exclude = ["registry.example.com/*/*"] }
}
/* a registry */
host "registry.example.com" {
  services = { "modules.v1" = "http://127.0.0.1:8080/v1/modules/" }
}
credentials "registry.example.com" { token = "top-secret-{" }
"""


def test_blocks_for_every_provisioner_are_taken() -> None:
    check_cli_config(GOOD)
    check_cli_config("")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('credentials_helper "x" {}', "line 1"),
        ('\nplugin_cache_dir = "/tmp"', "line 2"),
        ('host "a" "b" {}', "braces"),
        ("host {", "not closed"),
        ('credentials "a" { token = "top-secret" }}', "too many"),
        ("host", "not closed"),
        ('host "a" = {}', "braces"),
        ("{}", "too many"),
        ("host \x00", "not understood"),
    ],
    ids=["helper", "cache", "labels", "open", "close", "word", "equals", "brace", "control"],
)
def test_everything_else_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        check_cli_config(text)
    assert "secret" not in str(caught.value)


def test_file_and_hosts_become_one_text(tmp_path: Path) -> None:
    file = tmp_path / "rc"
    file.write_text(GOOD)
    settings = ServerSettings(
        terraform_cli_config=file,
        terraform_hosts="mirror.example.com=http://127.0.0.1:9000/x/, other.example.com:8443=https://r.example.com",
    )
    made = make_terraform_settings(settings)
    check_cli_config(made.cli_config)
    assert GOOD.strip() in made.cli_config
    assert '"modules.v1" = "http://127.0.0.1:9000/x/v1/modules/"' in made.cli_config
    assert '"providers.v1" = "https://r.example.com/v1/providers/"' in made.cli_config
    assert "secret" not in repr(made)


@pytest.mark.parametrize(
    "hosts", ["registry.example.com", "a=ftp://x/", "=http://x/", 'a=http://x/"', "A_b=http://x/", "a=http://"]
)
def test_hosts_that_can_not_be_used_are_named(hosts: str) -> None:
    with pytest.raises(OptionError, match="terraform_hosts"):
        make_terraform_settings(ServerSettings(terraform_hosts=hosts))


def test_a_file_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        make_terraform_settings(ServerSettings(terraform_cli_config=tmp_path / "none"))
    (tmp_path / "large").write_text("#" * 70_000)
    with pytest.raises(OptionError, match="larger"):
        make_terraform_settings(ServerSettings(terraform_cli_config=tmp_path / "large"))
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(OptionError, match="UTF-8"):
        make_terraform_settings(ServerSettings(terraform_cli_config=tmp_path / "binary"))
