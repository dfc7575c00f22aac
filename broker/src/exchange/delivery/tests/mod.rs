//! Delivery over a real embedded log, catalogue, view and trail.

pub(crate) mod fixture;
mod flow;
mod grants;
mod lag;
mod places;
