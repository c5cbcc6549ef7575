-- A conversation that a rule refused.
select id, persona_id, type, reason, score, threshold, evidence, excerpt, answer_key, prompt_version
from rejected_conversations
where id = $id;
