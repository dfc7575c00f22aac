//! Delivery over a real embedded log, catalogue, view and trail.

mod fixture;
mod flow;
mod grants;
mod places;
