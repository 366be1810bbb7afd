"""Templates whose forms the tests of this folder open."""

CONDITIONAL = {
    "main.tf": """
terraform {
  required_providers {
    coder = { source = "coder/coder", version = ">= 2.4" }
  }
}

locals {
  regions = { eu = "Europe", us = "America" }
  sizes   = { eu = [1, 2], us = [4, 8] }
}

data "coder_workspace_owner" "me" {}

data "coder_parameter" "region" {
  name         = "region"
  display_name = "Region"
  order        = 1
  default      = "eu"
  styling      = jsonencode({ placeholder = "where" })
  dynamic "option" {
    for_each = local.regions
    content {
      name  = option.value
      value = option.key
    }
  }
}

data "coder_parameter" "size" {
  name    = "size"
  type    = "number"
  order   = 2
  mutable = true
  default = local.sizes[data.coder_parameter.region.value][0]
  dynamic "option" {
    for_each = local.sizes[data.coder_parameter.region.value]
    content {
      name  = "${option.value} cores"
      value = option.value
    }
  }
}

data "coder_parameter" "licence" {
  count = data.coder_parameter.region.value == "us" ? 1 : 0
  name  = "licence"
  order = 3
  validation {
    regex = "^L-[0-9]+$"
    error = "A licence looks like L-123."
  }
}

data "coder_parameter" "who" {
  name      = "who"
  order     = 4
  mutable   = true
  default   = data.coder_workspace_owner.me.name
}

resource "terraform_data" "machine" {
  input = [data.coder_parameter.size.value, data.coder_parameter.who.value]
}
"""
}

WITH_MODULE = {
    "main.tf": """
module "editor" {
  source   = "./editor"
  agent_id = coder_agent.main.id
  choices  = local.choices
}

locals {
  choices = ["code", "vim"]
}

resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}

data "coder_parameter" "colour" {
  name    = "colour"
  default = "the colour for ${module.editor.chosen}"
  mutable = true
}
""",
    "editor/main.tf": """
variable "agent_id" { type = string }
variable "choices" { type = list(string) }

data "coder_parameter" "editor" {
  name    = "editor"
  default = var.choices[0]
  icon    = trimspace(file("${path.module}/icon.txt"))
  dynamic "option" {
    for_each = toset(var.choices)
    content {
      name  = upper(option.key)
      value = option.key
    }
  }
}

resource "coder_app" "editor" {
  agent_id = var.agent_id
  slug     = data.coder_parameter.editor.value
  command  = "true"
}

output "chosen" { value = data.coder_parameter.editor.value }
output "app" { value = coder_app.editor.id }
""",
    "editor/icon.txt": "/icon/code.svg\n",
}

STATIC = {
    "main.tf": """
variable "most" { default = 8 }
data "coder_parameter" "cores" {
  name    = "cores"
  type    = "number"
  default = 2
  mutable = true
  validation {
    min       = 1
    max       = var.most
    monotonic = "increasing"
  }
}
resource "terraform_data" "machine" {
  input = data.coder_parameter.cores.value
}
"""
}
