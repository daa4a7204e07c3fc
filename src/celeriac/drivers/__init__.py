"""How to hold a connection to each kind of server. A driver knows deadlines and errors, never queues or tasks."""
