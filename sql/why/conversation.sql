-- A conversation that was kept.
select id, persona_id, type, theme, messages, answer_key, prompt_version
from conversations
where id = $id;
