"""File formats shared by recordings, simulated worlds and run folders. Every writer is atomic."""
