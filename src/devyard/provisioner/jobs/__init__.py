"""The three kinds of jobs: import a template version, build a workspace, plan without applying."""
