//! The page of one GPU node, with owner labels.
