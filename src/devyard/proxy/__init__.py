"""The relay: owns the public port, splices client streams to agents, hands API connections on."""
