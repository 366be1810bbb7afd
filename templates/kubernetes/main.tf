# Workspaces as pods of a Kubernetes cluster, each with a persistent home.
# Copy this directory, change it, and push it: devyard templates push kubernetes -d .

terraform {
  required_providers {
    # Comes with Devyard; nothing is downloaded.
    devyard = {
      source = "devyard/devyard"
    }
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = "~> 2.30"
    }
  }
}

# ---------------------------------------------------------------------------------------------------------
# Variables: what an administrator sets when the template is pushed.
# ---------------------------------------------------------------------------------------------------------

variable "use_kubeconfig" {
  description = "Whether the provisioner finds the cluster by ~/.kube/config. False: it runs in the cluster itself and uses its service account."
  type        = bool
  default     = false
}

variable "namespace" {
  description = "The namespace for workspaces. It has to exist."
  type        = string
  default     = "devyard-workspaces"
}

variable "image" {
  description = "The workspace's image. It needs the agent's program: `pip install devyard` in its Dockerfile."
  type        = string
}

variable "storage_class" {
  description = "The storage class of home directories. Empty: the cluster's default."
  type        = string
  default     = ""
}

provider "kubernetes" {
  config_path = var.use_kubeconfig ? "~/.kube/config" : null
}

# ---------------------------------------------------------------------------------------------------------
# What is being built, and for whom.
# ---------------------------------------------------------------------------------------------------------

data "devyard_workspace" "me" {}
data "devyard_workspace_owner" "me" {}

locals {
  # Names of objects follow the id, so that nothing is lost when a workspace is renamed.
  name = "devyard-${data.devyard_workspace.me.id}"
  labels = {
    "app.kubernetes.io/name"     = "devyard-workspace"
    "app.kubernetes.io/instance" = local.name
    "app.kubernetes.io/part-of"  = "devyard"
    "devyard/owner"              = data.devyard_workspace_owner.me.name
    "devyard/workspace"          = data.devyard_workspace.me.name
  }
}

# ---------------------------------------------------------------------------------------------------------
# Parameters: what users choose.
# ---------------------------------------------------------------------------------------------------------

data "devyard_parameter" "cpu" {
  name         = "cpu"
  display_name = "CPUs"
  description  = "How many processor cores the workspace may use."
  type         = "number"
  form_type    = "dropdown"
  default      = 2
  mutable      = true
  order        = 1

  dynamic "option" {
    for_each = [1, 2, 4, 8]
    content {
      name  = option.value == 1 ? "1 core" : "${option.value} cores"
      value = option.value
    }
  }
}

data "devyard_parameter" "memory_gb" {
  name         = "memory_gb"
  display_name = "Memory"
  description  = "In GiB. A workspace that wants more is ended by the cluster."
  type         = "number"
  form_type    = "slider"
  default      = 4
  mutable      = true
  order        = 2

  validation {
    min = 1
    max = 64
  }
}

data "devyard_parameter" "home_gb" {
  name         = "home_gb"
  display_name = "Home directory"
  description  = "In GiB. It can grow later where the storage class allows it, and never shrinks."
  type         = "number"
  default      = 10
  mutable      = true
  order        = 3

  validation {
    min       = 1
    max       = 500
    monotonic = "increasing"
  }
}

# ---------------------------------------------------------------------------------------------------------
# The agent: the program inside that connects the workspace to you.
# ---------------------------------------------------------------------------------------------------------

resource "devyard_agent" "main" {
  os   = "linux"
  arch = "amd64"

  metadata {
    key          = "memory"
    display_name = "Memory in use"
    interval     = 15
    timeout      = 5
    script       = <<-SCRIPT
      # Version 2 of control groups, else version 1.
      cat /sys/fs/cgroup/memory.current /sys/fs/cgroup/memory/memory.usage_in_bytes 2>/dev/null |
        head -n 1 | awk '{ printf "%d MiB\n", $1 / 1048576 }'
    SCRIPT
  }

  metadata {
    key          = "home"
    display_name = "Home directory"
    interval     = 300
    timeout      = 60
    script       = "df -h \"$HOME\" | awk 'NR == 2 { print $3 \" of \" $2 }'"
  }
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
  url          = "http://localhost:13337/?folder=/home/dev"
  share        = "owner"

  healthcheck {
    url       = "http://localhost:13337/healthz"
    interval  = 5
    threshold = 6
  }
}

# ---------------------------------------------------------------------------------------------------------
# The home stays as long as the workspace does. The deployment is there while the workspace runs:
# start_count is 1 then and 0 when it is stopped.
# ---------------------------------------------------------------------------------------------------------

resource "kubernetes_persistent_volume_claim_v1" "home" {
  metadata {
    name      = "${local.name}-home"
    namespace = var.namespace
    labels    = local.labels
  }

  # Many classes bind a volume only once a pod wants it.
  wait_until_bound = false

  spec {
    access_modes       = ["ReadWriteOnce"]
    storage_class_name = var.storage_class != "" ? var.storage_class : null
    resources {
      requests = {
        storage = "${data.devyard_parameter.home_gb.value}Gi"
      }
    }
  }
}

resource "kubernetes_deployment_v1" "workspace" {
  count = data.devyard_workspace.me.start_count

  # The agent tells when the workspace is ready; Terraform need not wait for that.
  wait_for_rollout = false

  metadata {
    name      = local.name
    namespace = var.namespace
    labels    = local.labels
  }

  spec {
    replicas = 1
    selector {
      match_labels = {
        "app.kubernetes.io/instance" = local.name
      }
    }
    # The home can be mounted once: the old pod has to go before the new one comes.
    strategy {
      type = "Recreate"
    }

    template {
      metadata {
        labels = local.labels
      }

      spec {
        automount_service_account_token = false

        security_context {
          run_as_user     = 1000
          fs_group        = 1000
          run_as_non_root = true
        }

        container {
          name              = "workspace"
          image             = var.image
          image_pull_policy = "IfNotPresent"
          command           = ["sh", "-c", devyard_agent.main.init_script]

          security_context {
            run_as_user                = 1000
            allow_privilege_escalation = false
          }

          env {
            name  = "CODER_AGENT_TOKEN"
            value = devyard_agent.main.token
          }

          resources {
            requests = {
              cpu    = "250m"
              memory = "512Mi"
            }
            limits = {
              cpu    = data.devyard_parameter.cpu.value
              memory = "${data.devyard_parameter.memory_gb.value}Gi"
            }
          }

          volume_mount {
            mount_path = "/home/dev"
            name       = "home"
            read_only  = false
          }
        }

        volume {
          name = "home"
          persistent_volume_claim {
            claim_name = kubernetes_persistent_volume_claim_v1.home.metadata[0].name
            read_only  = false
          }
        }

        # Workspaces spread over the cluster's nodes where they can.
        affinity {
          pod_anti_affinity {
            preferred_during_scheduling_ignored_during_execution {
              weight = 1
              pod_affinity_term {
                topology_key = "kubernetes.io/hostname"
                label_selector {
                  match_expressions {
                    key      = "app.kubernetes.io/name"
                    operator = "In"
                    values   = ["devyard-workspace"]
                  }
                }
              }
            }
          }
        }
      }
    }
  }
}

resource "devyard_metadata" "workspace" {
  count       = data.devyard_workspace.me.start_count
  resource_id = kubernetes_deployment_v1.workspace[0].id

  item {
    key   = "CPUs"
    value = data.devyard_parameter.cpu.value
  }
  item {
    key   = "Memory"
    value = "${data.devyard_parameter.memory_gb.value} GiB"
  }
}
