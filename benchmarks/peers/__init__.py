"""The same durable counter on other systems, in one closed loop. See README.md in this folder."""
