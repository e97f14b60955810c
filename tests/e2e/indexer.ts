// The client the documents show ("TypeScript Indexer Integration"): the method's body is theirs, word for word.
import axios from 'axios';

interface IndexedRelationship {
  uri: string;
  cid: string;
  participants: string[];
  type: string;
  strength: number;
  context: string;
  createdAt: string;
  did: string;
}

export class RelationshipIndexer {
  async onRelationshipCreated(relationship: IndexedRelationship) {
    // Send event to Python pipeline
    await axios.post('http://python-api:8000/internal/events', {
      event_type: 'relationship.created',
      payload: {
        uri: relationship.uri,
        cid: relationship.cid,
        participants: relationship.participants,
        type: relationship.type,
        strength: relationship.strength,
        context: relationship.context,
        created_at: relationship.createdAt
      },
      did: relationship.did,
      priority: 1
    }, {
      headers: {
        'X-Internal-Key': process.env.INTERNAL_API_KEY
      }
    });
  }
}
