"""The endpoint and its commands against real restate-servers, which npm installs."""
