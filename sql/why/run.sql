-- What a run made, and under which profile.
select run_id, asset, lang, materialized_at, profile, settings
from materializations
where run_id = $id
order by materialized_at, asset;
