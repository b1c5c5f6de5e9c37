"""Serving a handler or a flow as tasks: what a front (A2A for instance) needs from below.

models      an order, what happens to its task, and what is known of it
board       `TaskBoard`: commits tasks, has them executed, lets anybody follow them
handling    what a handler is given, and how it says more than a result
flow        a flow as a handler
in_memory   a board in one process, for development and tests
"""
