"""An app over HTTP: what a request means, who may send it, and what the answer is. Independent of sockets."""
