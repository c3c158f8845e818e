"""Live upstream sockets: what a conversation over WebSocket leans on between its turns."""
