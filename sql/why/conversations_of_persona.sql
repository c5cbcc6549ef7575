-- What became of the conversations asked for with a persona.
select id, 'kept' as fate, type, theme, prompt, null as reason, null as evidence
from conversations
where persona_id = $id
union all by name
select id, 'rejected' as fate, type, null as theme, null as prompt, reason, evidence
from rejected_conversations
where persona_id = $id
order by id;
