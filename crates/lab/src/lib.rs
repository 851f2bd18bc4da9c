//! The whole pipeline on one machine, in simulated time.

pub mod authority;
pub mod front;
pub mod load;
pub mod names;
pub mod narrate;
pub mod pacer;
pub mod story;
pub mod view;
