"""For people on call: what is (`clipmodel status`), and what an edit would change (`clipmodel diff`). Reads only, with the user's own rights."""
