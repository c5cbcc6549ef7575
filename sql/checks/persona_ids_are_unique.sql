-- No persona id occurs twice.
select persona_id, count(*) as times
from raw_personas
where lang = $lang
group by persona_id
having count(*) > 1;
