//! The catalogue's and the trail's services as their clients meet them: real messages over a loopback connection, each promise of the `.proto` files a test.

mod audit;
mod catalogue;
mod fixture;
