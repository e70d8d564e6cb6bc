"""Pure: a ClipModel and what is known -> config.pbtxt and manifests. Same arguments, same bytes."""
