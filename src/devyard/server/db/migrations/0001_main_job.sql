-- The main job: people sign in, templates become workspaces, agents report.
-- Ids are made by the application; times are UTC; every growing table names its retention in docs/design/database.md.

CREATE TABLE deployment (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Keys that sign stream tickets and the like; the newest whose time has come signs, all that live verify.
CREATE TABLE signing_keys (
    id text PRIMARY KEY,
    feature text NOT NULL,
    secret bytea NOT NULL,
    starts_at timestamptz NOT NULL,
    deletes_at timestamptz
);

CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL,
    username text NOT NULL,
    name text NOT NULL DEFAULT '',
    avatar_url text NOT NULL DEFAULT '',
    password_hash text NOT NULL DEFAULT '',
    login_type text NOT NULL DEFAULT 'password',
    status text NOT NULL DEFAULT 'active',
    site_roles text[] NOT NULL DEFAULT '{}',
    git_public_key text NOT NULL DEFAULT '',
    git_private_key text NOT NULL DEFAULT '',
    git_key_updated_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00Z',
    deleted_at timestamptz
);
CREATE UNIQUE INDEX users_email_key ON users (lower(email)) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX users_username_key ON users (lower(username)) WHERE deleted_at IS NULL;

CREATE TABLE organizations (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    display_name text NOT NULL DEFAULT '',
    description text NOT NULL DEFAULT '',
    icon text NOT NULL DEFAULT '',
    is_default boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX organizations_name_key ON organizations (lower(name));
CREATE UNIQUE INDEX organizations_default_key ON organizations (is_default) WHERE is_default;

CREATE TABLE organization_members (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    roles text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX organization_members_user ON organization_members (user_id);

-- Sessions and named tokens alike: the text is `<id>-<secret>`, only the secret's SHA-256 is kept.
CREATE TABLE api_keys (
    id text PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    secret_hash bytea NOT NULL,
    login_type text NOT NULL,
    scope text NOT NULL DEFAULT 'all',
    token_name text NOT NULL DEFAULT '',
    lifetime_s bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL DEFAULT now(),
    ip text NOT NULL DEFAULT '',
    workspace_build_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX api_keys_name_key ON api_keys (user_id, token_name) WHERE token_name <> '';
CREATE INDEX api_keys_user ON api_keys (user_id);
CREATE INDEX api_keys_expires ON api_keys (expires_at);

CREATE TABLE audit_logs (
    id uuid PRIMARY KEY,
    time timestamptz NOT NULL DEFAULT now(),
    user_id uuid,
    organization_id uuid,
    ip text NOT NULL DEFAULT '',
    user_agent text NOT NULL DEFAULT '',
    request_id uuid NOT NULL,
    resource_type text NOT NULL,
    resource_id uuid NOT NULL,
    resource_target text NOT NULL DEFAULT '',
    action text NOT NULL,
    diff jsonb NOT NULL DEFAULT '{}',
    status_code int NOT NULL DEFAULT 200,
    additional_fields jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_logs_time ON audit_logs (time DESC, id);
CREATE INDEX audit_logs_resource ON audit_logs (resource_type, resource_id);

CREATE TABLE files (
    id uuid PRIMARY KEY,
    created_by uuid NOT NULL REFERENCES users,
    sha256 text NOT NULL,
    mimetype text NOT NULL,
    data bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX files_owner_hash_key ON files (created_by, sha256);

CREATE TABLE provisioner_keys (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    name text NOT NULL,
    secret_hash bytea NOT NULL,
    tags jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX provisioner_keys_name_key ON provisioner_keys (organization_id, lower(name));

CREATE TABLE provisioner_daemons (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    key_id uuid,
    name text NOT NULL,
    version text NOT NULL DEFAULT '',
    api_version text NOT NULL DEFAULT '',
    terraform_version text NOT NULL DEFAULT '',
    tags jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX provisioner_daemons_seen ON provisioner_daemons (organization_id, last_seen_at DESC);

-- The queue. `lease_id` and `lease_expires_at` belong to the running claim; a result counts only under its lease.
CREATE TABLE provisioner_jobs (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    initiator_id uuid NOT NULL REFERENCES users,
    type text NOT NULL,
    file_id uuid NOT NULL REFERENCES files,
    template_version_id uuid NOT NULL,
    workspace_build_id uuid,
    input jsonb NOT NULL DEFAULT '{}',
    tags jsonb NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'succeeded', 'canceling', 'canceled', 'failed')),
    error text NOT NULL DEFAULT '',
    error_code text NOT NULL DEFAULT '',
    worker_id uuid,
    lease_id uuid,
    lease_expires_at timestamptz,
    logs_bytes bigint NOT NULL DEFAULT 0,
    logs_overflowed boolean NOT NULL DEFAULT false,
    result jsonb,
    timings jsonb NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    canceled_at timestamptz,
    completed_at timestamptz
);
CREATE INDEX provisioner_jobs_pending ON provisioner_jobs (organization_id, created_at) WHERE status = 'pending';
CREATE INDEX provisioner_jobs_leased ON provisioner_jobs (lease_expires_at) WHERE status IN ('running', 'canceling');
CREATE INDEX provisioner_jobs_worker ON provisioner_jobs (worker_id, created_at DESC) WHERE worker_id IS NOT NULL;

CREATE TABLE provisioner_job_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL REFERENCES provisioner_jobs ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    source text NOT NULL,
    level text NOT NULL,
    stage text NOT NULL,
    output text NOT NULL
);
CREATE INDEX provisioner_job_logs_job ON provisioner_job_logs (job_id, id);

CREATE TABLE templates (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    name text NOT NULL,
    display_name text NOT NULL DEFAULT '',
    description text NOT NULL DEFAULT '',
    icon text NOT NULL DEFAULT '',
    active_version_id uuid NOT NULL,
    created_by uuid NOT NULL REFERENCES users,
    default_ttl_ms bigint NOT NULL DEFAULT 0,
    activity_bump_ms bigint NOT NULL DEFAULT 3600000,
    settings jsonb NOT NULL DEFAULT '{}',
    allow_user_cancel_workspace_jobs boolean NOT NULL DEFAULT true,
    require_active_version boolean NOT NULL DEFAULT false,
    deprecation_message text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE UNIQUE INDEX templates_name_key ON templates (organization_id, lower(name)) WHERE deleted_at IS NULL;

CREATE TABLE template_versions (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    template_id uuid REFERENCES templates,
    name text NOT NULL,
    message text NOT NULL DEFAULT '',
    readme text NOT NULL DEFAULT '',
    job_id uuid NOT NULL REFERENCES provisioner_jobs,
    created_by uuid NOT NULL REFERENCES users,
    parameters jsonb NOT NULL DEFAULT '[]',
    variables jsonb NOT NULL DEFAULT '[]',
    variable_values jsonb NOT NULL DEFAULT '[]',
    presets jsonb NOT NULL DEFAULT '[]',
    resources jsonb NOT NULL DEFAULT '[]',
    agent_resources jsonb NOT NULL DEFAULT '{}',
    external_auths jsonb NOT NULL DEFAULT '[]',
    warnings jsonb NOT NULL DEFAULT '[]',
    archived boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX template_versions_name_key ON template_versions (template_id, name)
    WHERE template_id IS NOT NULL;
CREATE INDEX template_versions_job ON template_versions (job_id);
ALTER TABLE templates ADD CONSTRAINT templates_active_version
    FOREIGN KEY (active_version_id) REFERENCES template_versions DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE provisioner_jobs ADD CONSTRAINT provisioner_jobs_version
    FOREIGN KEY (template_version_id) REFERENCES template_versions DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE workspaces (
    id uuid PRIMARY KEY,
    owner_id uuid NOT NULL REFERENCES users,
    organization_id uuid NOT NULL REFERENCES organizations,
    template_id uuid NOT NULL REFERENCES templates,
    name text NOT NULL,
    autostart_schedule text,
    ttl_ms bigint,
    automatic_updates text NOT NULL DEFAULT 'never',
    favorite boolean NOT NULL DEFAULT false,
    last_used_at timestamptz NOT NULL DEFAULT now(),
    dormant_at timestamptz,
    deleting_at timestamptz,
    latest_build_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE UNIQUE INDEX workspaces_name_key ON workspaces (owner_id, lower(name)) WHERE deleted_at IS NULL;
CREATE INDEX workspaces_owner ON workspaces (owner_id, id) WHERE deleted_at IS NULL;
CREATE INDEX workspaces_template ON workspaces (template_id) WHERE deleted_at IS NULL;

CREATE TABLE workspace_builds (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    build_number int NOT NULL,
    transition text NOT NULL CHECK (transition IN ('start', 'stop', 'delete')),
    reason text NOT NULL DEFAULT 'initiator',
    template_version_id uuid NOT NULL REFERENCES template_versions,
    preset_id uuid,
    initiator_id uuid NOT NULL REFERENCES users,
    job_id uuid NOT NULL REFERENCES provisioner_jobs,
    is_active boolean NOT NULL DEFAULT true,
    state bytea NOT NULL DEFAULT '',
    state_serial bigint NOT NULL DEFAULT -1,
    state_lineage text NOT NULL DEFAULT '',
    daily_cost int NOT NULL DEFAULT 0,
    deadline timestamptz,
    max_deadline timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX workspace_builds_number_key ON workspace_builds (workspace_id, build_number);
-- One active build per workspace; cleared in the transaction that ends its job.
CREATE UNIQUE INDEX workspace_builds_active_key ON workspace_builds (workspace_id) WHERE is_active;
CREATE UNIQUE INDEX workspace_builds_job_key ON workspace_builds (job_id);
ALTER TABLE workspaces ADD CONSTRAINT workspaces_latest_build
    FOREIGN KEY (latest_build_id) REFERENCES workspace_builds DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE provisioner_jobs ADD CONSTRAINT provisioner_jobs_build
    FOREIGN KEY (workspace_build_id) REFERENCES workspace_builds ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE workspace_build_parameters (
    build_id uuid NOT NULL REFERENCES workspace_builds ON DELETE CASCADE,
    name text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (build_id, name)
);

CREATE TABLE workspace_resources (
    id uuid PRIMARY KEY,
    build_id uuid NOT NULL REFERENCES workspace_builds ON DELETE CASCADE,
    job_id uuid NOT NULL,
    address text NOT NULL,
    transition text NOT NULL,
    type text NOT NULL,
    name text NOT NULL,
    hide boolean NOT NULL DEFAULT false,
    icon text NOT NULL DEFAULT '',
    daily_cost int NOT NULL DEFAULT 0,
    metadata jsonb NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX workspace_resources_build ON workspace_resources (build_id);

CREATE TABLE workspace_agents (
    id uuid PRIMARY KEY,
    resource_id uuid NOT NULL REFERENCES workspace_resources ON DELETE CASCADE,
    build_id uuid NOT NULL REFERENCES workspace_builds ON DELETE CASCADE,
    workspace_id uuid NOT NULL REFERENCES workspaces ON DELETE CASCADE,
    name text NOT NULL,
    token_hash bytea NOT NULL,
    os text NOT NULL,
    arch text NOT NULL,
    auth text NOT NULL DEFAULT 'token',
    instance_id text NOT NULL DEFAULT '',
    directory text NOT NULL DEFAULT '',
    environment jsonb NOT NULL DEFAULT '{}',
    motd_file text NOT NULL DEFAULT '',
    position int NOT NULL DEFAULT 0,
    connection_timeout_s int NOT NULL DEFAULT 120,
    troubleshooting_url text NOT NULL DEFAULT '',
    startup_behavior text NOT NULL DEFAULT 'non-blocking',
    api_key_scope text NOT NULL DEFAULT 'all',
    display_apps text[] NOT NULL DEFAULT '{}',
    monitors jsonb NOT NULL DEFAULT '{}',
    lifecycle text NOT NULL DEFAULT 'created',
    version text NOT NULL DEFAULT '',
    api_version text NOT NULL DEFAULT '',
    expanded_directory text NOT NULL DEFAULT '',
    host_keys text[] NOT NULL DEFAULT '{}',
    subsystems text[] NOT NULL DEFAULT '{}',
    logs_bytes bigint NOT NULL DEFAULT 0,
    logs_overflowed boolean NOT NULL DEFAULT false,
    first_connected_at timestamptz,
    last_connected_at timestamptz,
    disconnected_at timestamptz,
    started_at timestamptz,
    ready_at timestamptz,
    connection_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX workspace_agents_build ON workspace_agents (build_id);
CREATE INDEX workspace_agents_token ON workspace_agents (token_hash);
CREATE INDEX workspace_agents_resource ON workspace_agents (resource_id);

CREATE TABLE workspace_apps (
    id uuid PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES workspace_agents ON DELETE CASCADE,
    slug text NOT NULL,
    display_name text NOT NULL,
    url text NOT NULL DEFAULT '',
    command text NOT NULL DEFAULT '',
    icon text NOT NULL DEFAULT '',
    subdomain boolean NOT NULL DEFAULT false,
    sharing_level text NOT NULL DEFAULT 'owner',
    external boolean NOT NULL DEFAULT false,
    health_url text NOT NULL DEFAULT '',
    health_interval_s int NOT NULL DEFAULT 0,
    health_threshold int NOT NULL DEFAULT 0,
    health text NOT NULL DEFAULT 'disabled',
    hidden boolean NOT NULL DEFAULT false,
    open_in text NOT NULL DEFAULT 'slim-window',
    position int NOT NULL DEFAULT 0,
    group_name text NOT NULL DEFAULT '',
    tooltip text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX workspace_apps_slug_key ON workspace_apps (agent_id, slug);

CREATE TABLE workspace_agent_log_sources (
    id uuid NOT NULL,
    agent_id uuid NOT NULL REFERENCES workspace_agents ON DELETE CASCADE,
    display_name text NOT NULL,
    icon text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (agent_id, id)
);

CREATE TABLE workspace_agent_scripts (
    id uuid PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES workspace_agents ON DELETE CASCADE,
    log_source_id uuid NOT NULL,
    display_name text NOT NULL,
    script text NOT NULL,
    log_path text NOT NULL DEFAULT '',
    cron text NOT NULL DEFAULT '',
    run_on_start boolean NOT NULL DEFAULT false,
    run_on_stop boolean NOT NULL DEFAULT false,
    start_blocks_login boolean NOT NULL DEFAULT false,
    timeout_s int NOT NULL DEFAULT 0,
    position int NOT NULL DEFAULT 0
);
CREATE INDEX workspace_agent_scripts_agent ON workspace_agent_scripts (agent_id);

CREATE TABLE workspace_agent_script_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    script_id uuid NOT NULL REFERENCES workspace_agent_scripts ON DELETE CASCADE,
    stage text NOT NULL,
    status text NOT NULL,
    exit_code int NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL
);
CREATE INDEX workspace_agent_script_runs_script ON workspace_agent_script_runs (script_id, id);

CREATE TABLE workspace_agent_metadata (
    agent_id uuid NOT NULL REFERENCES workspace_agents ON DELETE CASCADE,
    key text NOT NULL,
    display_name text NOT NULL DEFAULT '',
    script text NOT NULL,
    interval_s int NOT NULL,
    timeout_s int NOT NULL,
    position int NOT NULL DEFAULT 0,
    value text NOT NULL DEFAULT '',
    error text NOT NULL DEFAULT '',
    collected_at timestamptz NOT NULL DEFAULT '0001-01-01 00:00:00Z',
    PRIMARY KEY (agent_id, key)
);

CREATE TABLE workspace_agent_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id uuid NOT NULL REFERENCES workspace_agents ON DELETE CASCADE,
    source_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    level text NOT NULL,
    output text NOT NULL
);
CREATE INDEX workspace_agent_logs_agent ON workspace_agent_logs (agent_id, id);

CREATE TABLE workspace_agent_stats (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id uuid NOT NULL,
    workspace_id uuid NOT NULL,
    user_id uuid NOT NULL,
    template_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    rx_bytes bigint NOT NULL,
    tx_bytes bigint NOT NULL,
    ssh_sessions int NOT NULL,
    vscode_sessions int NOT NULL,
    jetbrains_sessions int NOT NULL,
    terminal_sessions int NOT NULL,
    connection_count int NOT NULL,
    latency_ms double precision NOT NULL
);
CREATE INDEX workspace_agent_stats_time ON workspace_agent_stats (created_at);

-- Leased background work: whoever holds the row runs the loop.
CREATE TABLE leases (
    name text PRIMARY KEY,
    holder uuid NOT NULL,
    expires_at timestamptz NOT NULL
);
