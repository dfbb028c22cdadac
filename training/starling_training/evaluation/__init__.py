"""`eval-copilot`: is the adapter better than its base, by how much, how sure, and at what latency?"""
