# Workspaces as containers of a Docker engine that the provisioner can reach.
# Copy this directory, change it, and push it: devyard templates push docker -d .

terraform {
  required_providers {
    # Comes with Devyard; nothing is downloaded.
    devyard = {
      source = "devyard/devyard"
    }
    docker = {
      source  = "kreuzwerker/docker"
      version = "~> 3.0"
    }
  }
}

# ---------------------------------------------------------------------------------------------------------
# Variables: what an administrator sets when the template is pushed.
# ---------------------------------------------------------------------------------------------------------

variable "docker_host" {
  description = "Address of the Docker engine, like unix:///var/run/docker.sock or ssh://user@host. Empty: Docker's own default."
  type        = string
  default     = ""
}

variable "base_image" {
  description = "What the workspace's image starts from. A Debian or Ubuntu with Python 3.11 or later."
  type        = string
  default     = "python:3.12-slim-bookworm"
}

variable "devyard_package" {
  description = "Where pip finds the agent's program: a name, or the URL of a wheel."
  type        = string
  default     = "devyard"
}

variable "code_server" {
  description = "Whether the image gets code-server, an editor in the browser. It is downloaded when the image is built."
  type        = bool
  default     = true
}

provider "docker" {
  host = var.docker_host != "" ? var.docker_host : null
}

# ---------------------------------------------------------------------------------------------------------
# What is being built, for whom, and where.
# ---------------------------------------------------------------------------------------------------------

data "devyard_provisioner" "me" {}
data "devyard_workspace" "me" {}
data "devyard_workspace_owner" "me" {}

locals {
  user = "dev"
  # Names of containers and volumes follow the id, so that nothing is lost when a workspace is renamed.
  name = "devyard-${data.devyard_workspace.me.id}"
  labels = {
    "devyard.workspace_id"   = data.devyard_workspace.me.id
    "devyard.workspace_name" = data.devyard_workspace.me.name
    "devyard.owner"          = data.devyard_workspace_owner.me.name
  }
}

# ---------------------------------------------------------------------------------------------------------
# Parameters: what users choose.
# ---------------------------------------------------------------------------------------------------------

data "devyard_parameter" "memory_mb" {
  name         = "memory_mb"
  display_name = "Memory"
  description  = "In MiB. A workspace that wants more is ended by the engine."
  type         = "number"
  form_type    = "slider"
  default      = 4096
  mutable      = true
  order        = 1

  validation {
    min = 512
    max = 65536
  }
}

data "devyard_parameter" "dotfiles_uri" {
  name         = "dotfiles_uri"
  display_name = "Dotfiles"
  description  = "A git repository with your settings, or nothing. Its `install.sh` runs once it is cloned."
  default      = ""
  mutable      = true
  order        = 2
}

# ---------------------------------------------------------------------------------------------------------
# The agent: the program inside that connects the workspace to you.
# ---------------------------------------------------------------------------------------------------------

resource "devyard_agent" "main" {
  os   = "linux"
  arch = data.devyard_provisioner.me.arch

  startup_script = <<-SCRIPT
    set -e
    # A new volume is empty: bring what the image has for a home.
    if [ ! -e "$HOME/.profile" ]; then
      cp -rT /etc/skel "$HOME"
    fi
    if [ -n "$DOTFILES_URI" ] && [ ! -d "$HOME/.dotfiles" ]; then
      git clone --depth 1 -- "$DOTFILES_URI" "$HOME/.dotfiles"
      if [ -x "$HOME/.dotfiles/install.sh" ]; then
        (cd "$HOME/.dotfiles" && ./install.sh)
      fi
    fi
  SCRIPT

  env = {
    GIT_AUTHOR_NAME     = coalesce(data.devyard_workspace_owner.me.full_name, data.devyard_workspace_owner.me.name)
    GIT_AUTHOR_EMAIL    = data.devyard_workspace_owner.me.email
    GIT_COMMITTER_NAME  = coalesce(data.devyard_workspace_owner.me.full_name, data.devyard_workspace_owner.me.name)
    GIT_COMMITTER_EMAIL = data.devyard_workspace_owner.me.email
  }

  metadata {
    key          = "memory"
    display_name = "Memory in use"
    interval     = 15
    timeout      = 5
    script       = "free -m 2>/dev/null | awk '/^Mem:/ { print $3 \" MiB\" }'"
  }

  metadata {
    key          = "home"
    display_name = "Home volume"
    interval     = 300
    timeout      = 60
    script       = "df -h \"$HOME\" | awk 'NR == 2 { print $3 \" of \" $2 }'"
  }
}

resource "devyard_env" "dotfiles_uri" {
  agent_id = devyard_agent.main.id
  name     = "DOTFILES_URI"
  value    = data.devyard_parameter.dotfiles_uri.value
}

# ---------------------------------------------------------------------------------------------------------
# An editor in the browser, where the image has code-server. It listens inside only; Devyard lets its owner in.
# ---------------------------------------------------------------------------------------------------------

resource "devyard_script" "code_server" {
  agent_id     = devyard_agent.main.id
  display_name = "code-server"
  icon         = "/icon/code.svg"
  run_on_start = true
  script       = <<-SCRIPT
    if ! command -v code-server >/dev/null; then
      echo "The image has no code-server; nothing to start."
      exit 0
    fi
    nohup code-server --auth none --bind-addr 127.0.0.1:13337 --disable-telemetry >/tmp/code-server.log 2>&1 &
  SCRIPT
}

resource "devyard_app" "code_server" {
  agent_id     = devyard_agent.main.id
  slug         = "code-server"
  display_name = "code-server"
  icon         = "/icon/code.svg"
  url          = "http://localhost:13337/?folder=/home/${local.user}"
  share        = "owner"

  healthcheck {
    url       = "http://localhost:13337/healthz"
    interval  = 5
    threshold = 6
  }
}

# ---------------------------------------------------------------------------------------------------------
# The home volume stays as long as the workspace does. The container is there while the workspace runs:
# start_count is 1 then and 0 when it is stopped.
# ---------------------------------------------------------------------------------------------------------

resource "docker_volume" "home" {
  name = "${local.name}-home"

  # Never replaced by a change of the template: people's files are in it.
  lifecycle {
    ignore_changes = all
  }

  dynamic "labels" {
    for_each = local.labels
    content {
      label = labels.key
      value = labels.value
    }
  }
}

resource "docker_image" "main" {
  name = "${local.name}-image"

  build {
    context = "./image"
    build_args = {
      BASE_IMAGE      = var.base_image
      CODE_SERVER     = tostring(var.code_server)
      DEVYARD_PACKAGE = var.devyard_package
      USER            = local.user
    }
  }

  # Built again when a file of the image's directory changes.
  triggers = {
    files = sha1(join("", [for file in fileset("${path.module}/image", "**") : filesha1("${path.module}/image/${file}")]))
  }
}

resource "docker_container" "workspace" {
  count = data.devyard_workspace.me.start_count

  image    = docker_image.main.name
  name     = "${local.name}-${data.devyard_workspace_owner.me.name}-${lower(data.devyard_workspace.me.name)}"
  hostname = lower(data.devyard_workspace.me.name)
  memory   = data.devyard_parameter.memory_mb.value

  # Inside a container "localhost" is the container: an access URL on this machine is reached by another name.
  entrypoint = ["sh", "-c", replace(devyard_agent.main.init_script, "/localhost|127\\.0\\.0\\.1/", "host.docker.internal")]
  env        = ["CODER_AGENT_TOKEN=${devyard_agent.main.token}"]

  host {
    host = "host.docker.internal"
    ip   = "host-gateway"
  }

  volumes {
    container_path = "/home/${local.user}"
    volume_name    = docker_volume.home.name
    read_only      = false
  }

  dynamic "labels" {
    for_each = local.labels
    content {
      label = labels.key
      value = labels.value
    }
  }
}

resource "devyard_metadata" "workspace" {
  count       = data.devyard_workspace.me.start_count
  resource_id = docker_container.workspace[0].id

  item {
    key   = "Memory"
    value = "${data.devyard_parameter.memory_mb.value} MiB"
  }
  item {
    key   = "Image"
    value = var.base_image
  }
}
