"""What a target's source says, read with `ast` and never imported: where a name leads, and which arguments it takes."""
