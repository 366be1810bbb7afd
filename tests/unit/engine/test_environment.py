from pathlib import Path

from devyard.provisioner.engine.environment import build_environment


def test_nothing_of_the_server_passes() -> None:
    own = {
        "PATH": "/bin",
        "HOME": "/home/x",
        "HTTPS_PROXY": "http://proxy",
        "LC_ALL": "C",
        "DEVYARD_PROVISIONER_DAEMON_KEY": "secret",
        "CODER_AGENT_TOKEN": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "GITHUB_TOKEN": "secret",
        "TF_REATTACH_PROVIDERS": "{}",
    }
    environment = build_environment(own, (), "")
    assert "secret" not in environment.values()
    assert "TF_REATTACH_PROVIDERS" not in environment
    assert environment["HTTPS_PROXY"] == "http://proxy"
    assert (environment["PATH"], environment["HOME"], environment["LC_ALL"]) == ("/bin", "/home/x", "C")


def test_the_administrator_lets_more_through_but_never_our_own() -> None:
    own = {"AWS_PROFILE": "dev", "AWS_REGION": "eu", "DEVYARD_KEY": "k", "CODER_X": "k"}
    environment = build_environment(own, ("AWS_*", "*"), "")
    assert environment["AWS_PROFILE"] == "dev"
    assert environment["AWS_REGION"] == "eu"
    assert "k" not in environment.values()


def test_what_is_fixed_wins_and_the_provider_is_attached() -> None:
    environment = build_environment({"GOGC": "1", "CHECKPOINT_DISABLE": ""}, ("GOGC",), '{"a": 1}')
    assert (environment["GOGC"], environment["CHECKPOINT_DISABLE"]) == ("400", "1")
    assert environment["TF_REATTACH_PROVIDERS"] == '{"a": 1}'


def test_configuration_file_only_where_it_is_one(tmp_path: Path) -> None:
    file = tmp_path / "rc"
    own = {"TF_CLI_CONFIG_FILE": str(file)}
    assert "TF_CLI_CONFIG_FILE" not in build_environment(own, ("TF_*",), "")
    file.touch()
    assert build_environment(own, (), "")["TF_CLI_CONFIG_FILE"] == str(file)
