"""What Pacemaker reads and writes, and what it costs. Plain Python, no AiiDA."""
