"""Nodes of Ray on this machine."""

import socket
from typing import Any


def node_settings(num_cpus: int) -> dict[str, Any]:
    """Arguments of a node of `ray.cluster_utils.Cluster` that needs little.

    Its ports are given: a node that looks for some itself gives up where its parts take a quarter of a minute to start.
    """
    names = ('metrics_agent_port', 'dashboard_agent_listen_port', 'runtime_env_agent_port', 'metrics_export_port')
    return {'num_cpus': num_cpus, 'object_store_memory': 80 * 2**20} | {name: free_port() for name in names}


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as place:
        place.bind(('127.0.0.1', 0))
        return place.getsockname()[1]
