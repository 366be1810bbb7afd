"""The queue of Terraform work: jobs, their logs, and the socket of the provisioners that run them."""
