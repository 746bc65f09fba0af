"""Adapters that ship with the kit, one file each; a peer library is imported only inside its own."""
