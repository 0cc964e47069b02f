"""An app over HTTP: what a request means, who may ask, and what is answered. It knows no socket."""
