//! Node planning: from pending pods and replica plans to nodes of each pool.
