-- Every materialization of a partition: the run that made it and the effective profile, as JSON.
create table if not exists materializations (
    lang varchar not null,
    asset varchar not null,
    run_id varchar not null,
    profile varchar not null,
    settings varchar not null,
    materialized_at timestamp not null
);
