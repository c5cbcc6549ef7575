-- Everything that was made of a reply.
select 'persona' as kind, persona_id as id, null as reason from raw_personas where answer_key = $id
union all
select 'no persona', answer_key, reason from rejected_replies where answer_key = $id
union all
select 'conversation', id, null from conversations where answer_key = $id
union all
select 'rejected conversation', id, reason from rejected_conversations where answer_key = $id
order by all;
