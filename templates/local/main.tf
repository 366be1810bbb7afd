# A workspace on the machine that Devyard itself runs on: no containers, no cloud account.
# Each workspace is a sandbox: own processes, own /tmp, own home directory, limits for CPU and memory.
# Copy this directory, change it, and push it: devyard templates push my-template -d .

terraform {
  required_providers {
    # Comes with Devyard; nothing is downloaded. Templates written for coder/coder work too.
    devyard = {
      source = "devyard/devyard"
    }
  }
}

# ---------------------------------------------------------------------------------------------------------
# What is being built, for whom, and where.
# ---------------------------------------------------------------------------------------------------------

data "devyard_workspace" "me" {}
data "devyard_workspace_owner" "me" {}
data "devyard_provisioner" "me" {}

# ---------------------------------------------------------------------------------------------------------
# Parameters: what users choose. `mutable` ones can be changed after the workspace was created.
# ---------------------------------------------------------------------------------------------------------

data "devyard_parameter" "cpus" {
  name         = "cpus"
  display_name = "CPUs"
  description  = "How many processor cores the workspace may keep busy."
  type         = "number"
  form_type    = "slider"
  default      = 2
  mutable      = true
  order        = 1

  validation {
    min = 1
    max = 16
  }
}

data "devyard_parameter" "memory_mb" {
  name         = "memory_mb"
  display_name = "Memory"
  description  = "A program that wants more than this is ended."
  type         = "number"
  default      = 2048
  mutable      = true
  order        = 2

  option {
    name  = "1 GiB"
    value = 1024
  }
  option {
    name  = "2 GiB"
    value = 2048
  }
  option {
    name  = "4 GiB"
    value = 4096
  }
  option {
    name  = "8 GiB"
    value = 8192
  }
}

data "devyard_parameter" "shell" {
  name         = "shell"
  display_name = "Shell"
  description  = "Where the machine lacks it, bash or sh takes its place."
  default      = "/bin/bash"
  mutable      = true
  order        = 3

  option {
    name  = "bash"
    value = "/bin/bash"
  }
  option {
    name  = "zsh"
    value = "/bin/zsh"
  }
  option {
    name  = "sh"
    value = "/bin/sh"
  }
}

data "devyard_parameter" "dotfiles_uri" {
  name         = "dotfiles_uri"
  display_name = "Dotfiles"
  description  = "A git repository with your settings, or nothing. Its `install.sh` runs once it is cloned."
  default      = ""
  mutable      = true
  order        = 4

  validation {
    regex = "^$|^(https?|ssh|git)://[^ ]+$|^[^ @/:]+@[^ :]+:[^ ]+$"
    error = "Use the address of a git repository, like https://example.com/me/dotfiles.git."
  }
}

# ---------------------------------------------------------------------------------------------------------
# The agent: the program inside that connects the workspace to you.
# ---------------------------------------------------------------------------------------------------------

resource "devyard_agent" "main" {
  os   = data.devyard_provisioner.me.os
  arch = data.devyard_provisioner.me.arch

  # Runs at each start, as the user of the workspace. Values that users type come as environment variables
  # (see devyard_env below), never as text of the script: so nobody can put commands into it.
  startup_script = <<-SCRIPT
    set -e
    if [ -n "$DOTFILES_URI" ] && [ ! -d "$HOME/.dotfiles" ]; then
      echo "Cloning your dotfiles"
      git clone --depth 1 -- "$DOTFILES_URI" "$HOME/.dotfiles"
      if [ -x "$HOME/.dotfiles/install.sh" ]; then
        cd "$HOME/.dotfiles"
        ./install.sh
      fi
    fi
    echo "The workspace is ready."
  SCRIPT

  # Figures on the workspace's page: each is the output of a command. /proc shows the sandbox's processes only.
  metadata {
    key          = "cpu"
    display_name = "CPU in use"
    interval     = 10
    timeout      = 5
    script       = <<-SCRIPT
      ticks() { cat /proc/[0-9]*/stat 2>/dev/null | awk '{ sub(/.*\) /, ""); sum += $12 + $13 } END { print sum + 0 }'; }
      before=$(ticks)
      sleep 1
      after=$(ticks)
      if [ "$after" -lt "$before" ]; then after=$before; fi
      echo "$(( (after - before) * 100 / $(getconf CLK_TCK) ))% of a core"
    SCRIPT
  }

  metadata {
    key          = "memory"
    display_name = "Memory in use"
    interval     = 10
    timeout      = 5
    script       = <<-SCRIPT
      cat /proc/[0-9]*/status 2>/dev/null | awk '/^RssAnon:/ { sum += $2 } END { printf "%d MiB\n", sum / 1024 }'
    SCRIPT
  }

  metadata {
    key          = "home"
    display_name = "Home directory"
    interval     = 300
    timeout      = 60
    script       = "du -sh \"$HOME\" 2>/dev/null | cut -f1"
  }
}

# An environment variable for everything that runs in the workspace.
resource "devyard_env" "dotfiles_uri" {
  agent_id = devyard_agent.main.id
  name     = "DOTFILES_URI"
  value    = data.devyard_parameter.dotfiles_uri.value
}

# ---------------------------------------------------------------------------------------------------------
# The machine. The home is always there, so its files outlive a stop; it goes when the workspace is deleted.
# The sandbox is there while the workspace runs: start_count is 1 then and 0 when it is stopped.
# ---------------------------------------------------------------------------------------------------------

resource "devyard_sandbox_home" "home" {}

resource "devyard_sandbox" "workspace" {
  count = data.devyard_workspace.me.start_count

  home_id     = devyard_sandbox_home.home.id
  hostname    = lower(data.devyard_workspace.me.name)
  init_script = devyard_agent.main.init_script
  cpus        = data.devyard_parameter.cpus.value
  memory_mb   = data.devyard_parameter.memory_mb.value

  env = {
    CODER_AGENT_TOKEN = devyard_agent.main.token
    SHELL             = data.devyard_parameter.shell.value
  }
}

# What the workspace's page says about the sandbox.
resource "devyard_metadata" "workspace" {
  count       = data.devyard_workspace.me.start_count
  resource_id = devyard_sandbox.workspace[0].id

  item {
    key   = "CPUs"
    value = data.devyard_parameter.cpus.value
  }
  item {
    key   = "Memory"
    value = "${data.devyard_parameter.memory_mb.value} MiB"
  }
}
