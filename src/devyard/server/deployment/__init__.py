"""What the deployment says about itself: identity, version, features, health, relays."""
