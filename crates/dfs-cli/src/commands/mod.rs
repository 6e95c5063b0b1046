//! The verbs, one a file: what its arguments are, and what it does.

pub(crate) mod up;

pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod whoami;

pub(crate) mod cat;
pub(crate) mod get;
pub(crate) mod put;

pub(crate) mod df;
pub(crate) mod du;
pub(crate) mod ls;
pub(crate) mod stat;
pub(crate) mod tree;

pub(crate) mod chgrp;
pub(crate) mod chmod;
pub(crate) mod chown;
pub(crate) mod concat;
pub(crate) mod cp;
pub(crate) mod getfacl;
pub(crate) mod ln;
pub(crate) mod mkdir;
pub(crate) mod mv;
pub(crate) mod policy;
pub(crate) mod quota;
pub(crate) mod rm;
pub(crate) mod setfacl;
pub(crate) mod snap;
pub(crate) mod touch;
pub(crate) mod trash;

pub(crate) mod group;
pub(crate) mod user;

pub(crate) mod admin;
pub(crate) mod explain;
pub(crate) mod master;
pub(crate) mod node;
pub(crate) mod status;
pub(crate) mod token;

pub(crate) mod bench;
pub(crate) mod chaos;
pub(crate) mod completions;
