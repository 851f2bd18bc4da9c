//! Node-pool configuration (`--pool name=gpunp,sku=…`).
